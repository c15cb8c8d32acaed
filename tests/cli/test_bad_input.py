"""Whatever is asked for wrongly gets one line that teaches, and exit status 2."""

import json
import os
import pickle
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from dnas import Mixture, Relaxation, Softmax
from dnas.jobs.recipe import recipe_names
from dnas.system.tensor_file import save_tensors
from tests.support.cli import SMALL, dnas, done, make_photos, refused


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_photos(tmp_path_factory.mktemp("data") / "photos")


@pytest.fixture(scope="module")
def finished(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was searched and retrained; tests take copies."""
    run = tmp_path_factory.mktemp("runs") / "finished"
    done("search", "--data", photos, "--run", run, *SMALL)
    done("retrain", run)
    return run


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def searched(run: Path) -> Path:
    """A copy that was not retrained."""
    shutil.rmtree(run / "retrain")
    return run


# Data


def test_a_folder_that_is_not_there(tmp_path):
    assert "There is no file or folder" in refused("search", "--data", tmp_path / "nope")


def test_a_folder_with_one_class(tmp_path):
    make_photos(tmp_path, classes=["cat"])
    assert "one class, 'cat'" in refused("search", "--data", tmp_path, *SMALL)


def test_a_folder_without_classes(tmp_path):
    assert "no subfolders" in refused("search", "--data", tmp_path, *SMALL)


def test_a_class_with_too_few_images(tmp_path):
    make_photos(tmp_path, count=2)
    assert "class 'cat' has 2 images" in refused("search", "--data", tmp_path, *SMALL)


@pytest.mark.parametrize("content", [b"", b"no image", None], ids=["empty", "text", "cut short"])
@pytest.mark.parametrize("number", [0, 23])
def test_an_image_that_cannot_be_read_is_named(tmp_path, content: bytes | None, number: int):
    photos = make_photos(tmp_path / "photos")
    image = photos / "cat" / f"{number:03d}.png"
    image.write_bytes(image.read_bytes()[:150] if content is None else content)
    assert str(image) in refused("search", "--data", photos, "--run", tmp_path / "run", *SMALL)


def test_a_setting_for_another_kind_of_data(photos):
    assert "no effect" in refused("search", "--data", photos, "--label_column", "label", *SMALL)


# Words of the command line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["serach"], "no command 'serach' (did you mean 'search'?)"),
        (["search", "--sed", "1"], "no option --sed (did you mean '--seed'?)"),
        (["search", "--search.epoch", "1"], "no option --search.epoch (did you mean '--search.epochs'?)"),
        (["search", "--search.relaxtion", "x"], "--search.relaxtion (did you mean '--search.relaxation'?)"),
        (["retrain", "--weights.rl.start", "1"], "--weights: dnas.WeightSGD has no setting 'rl.start'; it has lr,"),
        (["search", "--see", "1"], "no option --see"),
        (["search", "--seed"], "--seed needs a value"),
        (["search", "more"], "unexpected argument 'more'"),
        (["retrain"], "`dnas retrain` needs RUN"),
        (["predict", "a"], "`dnas predict` needs IMAGES"),
        (["describe"], "`dnas describe` needs ARCHITECTURE"),
        (["compare"], "`dnas compare` needs RECIPES. See"),
    ],
)
def test_arguments_that_the_command_does_not_have(arguments: list[str], said: str):
    assert said in refused(*arguments)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--seed", "x", "--seed: expected a whole number; got x"),
        ("--seed", "1.5", "expected a whole number"),
        ("--seed", "null", "expected a whole number"),
        ("--seed", "1" + 30 * "0", "seed must be from"),
        ("--image_size", "many", "--image_size: expected a whole number or null; got many"),
        ("--image_size", "0", "image_size must be at least 1"),
        ("--channels", "-4", "channels must be at least 1"),
        ("--batch_size", "0", "batch_size must be at least 1"),
        ("--threads", "0", "threads must be at least 1"),
        ("--stem", "big", "--stem: expected one of 'cifar', 'imagenet'"),
        ("--test_fraction", "1", "test_fraction must be over 0 and below 1"),
        ("--test_fraction", "nan", "expected a number"),
        ("--validation_fraction", "1.0", "validation_fraction must be from 0 up to below 1"),
        ("--time", "soon", "a number with a unit, such as 90s, 30min or 2h; got 'soon'"),
        ("--time", "90", "a number with a unit"),
        ("--time", "0s", "a number with a unit"),
        ("--time", "-3min", "--time needs a value"),
        ("--time", "infh", "a number with a unit"),
        ("--device", "tpu", "Unknown device 'tpu'"),
        ("--device", "meta", "Unknown device 'meta'"),
        ("--device", "cuda:99", "There is no device 'cuda:99'"),
        ("--search.warmup_epochs", "3", "warmup_epochs must lie between 0 and epochs"),
        ("--search.warmup_epochs", "3", "set it too (--search.warmup_epochs)"),
        ("--search.alphas.betas", "[0.5]", "expected a list of 2"),
        ("--search.alphas.betas", "0.5", "expected a list"),
        ("--search.weights.nesterov", "maybe", "expected true or false"),
        ("--search.weights.momentum", "-1", "momentum must be from 0 up to below 1; got -1"),
        ("--search.weights.momentum", "1", "momentum must be from 0 up to below 1; got 1"),
        ("--search.weights.weight_decay", "-1", "weight_decay of the weights must be 0 or more; got -1"),
        ("--search.weights.lr.start", "-1", "lr of the weights must be 0 or more; at the start it is -1"),
        ("--search.weights", "{momentum: 0, nesterov: true}", "nesterov is a form of momentum, which is 0"),
        ("--search.alphas.lr", "-1", "lr of the alphas must be 0 or more; got -1"),
        ("--search.alphas.weight_decay", "-1", "weight_decay of the alphas must be 0 or more; got -1"),
        ("--search.alphas.betas", "[0.5,1]", "betas must be from 0 up to below 1; got [0.5, 1.0]"),
        ("--search.epochs", "0", "epochs must be at least 1"),
        (
            "--search.weights.lr",
            "-1",
            "A value that stays the same is {class_path: dnas.Constant, init_args: {value: -1}}",
        ),
        ("--task", "nosuch.Task", "nosuch cannot be imported: ModuleNotFoundError"),
        ("--search.weights.lr", "1", "{class_path: dnas.Constant, init_args: {value: 1}}"),
        (
            "--space.auxiliary_skip",
            "dnas.Linear",
            "dnas.Linear needs start, end; give it as --space.auxiliary_skip.start",
        ),
        ("--space", "dnas.RecurrentSpace", "is searched on a text, by `dnas language TEXT`"),
        ("--search.weights.lr", "0.1", "{class_path: dnas.Constant, init_args: {value: 0.1}}"),
        ("--search.weights.lr", "dnas.Constant", "dnas.Constant needs value; give it as --search.weights.lr.value"),
        ("--search.weights.lr.value", "1", "dnas.Cosine has no setting 'value'; it has start, end"),
        ("--search.relaxation", "Softmx", "there is no part 'Softmx'"),
        ("--search.relaxation", "dnas.Nope", "there is no part 'dnas.Nope'"),
        ("--search.relaxation", "nowhere.Part", "there is no part 'nowhere.Part'"),
        (
            "--search.relaxation",
            "fractions.Fraction",
            "fractions.Fraction is no Relaxation; known are dnas.Dirichlet, dnas.GumbelSoftmax",
        ),
        ("--search.relaxation", "dnas.FirstOrder", "dnas.FirstOrder is no Relaxation"),
        ("--search.relaxation", "3", "there is no part '3'"),
        ("--search.relaxation.temperature", "3", "dnas.Dirichlet has no setting 'temperature'; it has none"),
        ("--search.penalties", "dnas.BetaDecay", "expected a list"),
        ("--search.penalties", "[3]", "expected a Penalty: dnas.Anchor, dnas.BetaDecay"),
        ("--search", "3", "neither a YAML file nor settings"),
        ("--space", "3", "there is no part '3'"),
        ("--space.nodes", "x", "--space.nodes: expected a whole number; got x"),
        ("--space.nodes", "0", "nodes must be 1 or more"),
        ("--space.candidates", "[foo]", "Unknown candidates ['foo']"),
        ("--retrain.drop_path", "1", "drop_path must be from 0 up to below 1"),
        ("--baseline", "all", "--baseline: expected one of 'none', 'random'"),
    ],
)
def test_values_that_do_not_fit_their_setting(photos, tmp_path, option: str, value: str, said: str):
    assert said in refused("search", "--data", photos, "--run", tmp_path / "run", *SMALL, option, value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "got nothing"),
        ("- 1", "expected settings"),
        ("3", "expected settings"),
        ("seed: [1", "not readable YAML"),
        ("sede: 1", "no setting 'sede' (did you mean 'seed'?)"),
        ("search: {epoch: 1}", "no setting 'search.epoch' (did you mean 'epochs'?)"),
        ("search: {weights: {rate: 1}}", "--search.weights: dnas.WeightSGD has no setting 'rate'"),
        ("search.epochs: 3", "no setting 'search.epochs'"),
        ("search: 3", "expected settings under search"),
        ("search: other.yaml", "expected settings under search"),
        ("search:", "search is empty"),
        ("seed: null", "seed is empty"),
        ("data:", "data is empty"),
        ("seed: x", "--seed: expected a whole number; got x"),
        ("seed: true", "expected a whole number"),
        ("data: 3", "--data: expected text"),
        ("space: 3", "expected a Space: dnas.DartsSpace, "),
        (
            "space: {class_path: dnas.DartsSpace, init_args: {foo: 1}}",
            "dnas.DartsSpace has no setting 'foo'; it has nodes",
        ),
        ("search: {relaxation: dnas.Nope}", "there is no part 'dnas.Nope'"),
        ("search: {weights: {clip: x}}", "--search.weights.clip: expected a number or null"),
        ("search: {weights: {lr: 0.1}}", "expected a Schedule: dnas.Constant, dnas.Cosine, "),
        ("resume: runs/x", "A recipe cannot set 'resume'"),
    ],
)
def test_a_recipe_that_does_not_fit(photos, tmp_path, text: str, said: str):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text)
    message = refused("search", "--data", photos, "--run", tmp_path / "run", "--recipe", recipe)
    assert said in message
    assert not (tmp_path / "run").exists()


def test_a_recipe_that_is_not_text(tmp_path):
    (tmp_path / "recipe.yaml").write_bytes(b"\xff\xfe\x00")
    assert "not readable YAML" in refused("search", "--recipe", tmp_path / "recipe.yaml")


@pytest.mark.parametrize("recipe", ["darts", "nope.yaml", "."])
def test_an_unknown_recipe(recipe: str):
    assert f"there are {', '.join(recipe_names())}" in refused("search", "--recipe", recipe)


# Settings that would have no effect


def test_other_settings_beside_resume(run):
    message = refused("search", "--resume", run, "--seed", "3", "--search.epochs=2")
    assert "--search.epochs, --seed would have no effect" in message


def test_trust_without_resume(photos):
    assert "--trust has no effect" in refused("search", "--data", photos, "--trust")


def test_a_number_of_random_networks_without_a_baseline(photos):
    assert "--num_random has no effect" in refused("search", "--data", photos, "--num_random", "3")


@pytest.mark.parametrize("command", ["search", "baseline"])
def test_no_random_networks(finished, photos, command: str):
    arguments = ["--baseline", "random", "--num_random", 0] if command == "search" else [finished, "--num", 0]
    assert "at least 1; got 0" in refused(command, *arguments)


def test_architectures_that_cannot_stand_beside_the_random_ones(finished):
    assert "'nasbench201'; expected 'darts'" in refused(
        "baseline", finished, "--beside", "|skip_connect~0|+|none~0|none~1|+|none~0|none~1|none~2|"
    )
    assert "two have the same name" in refused("baseline", finished, "--beside", "DARTS_V2", "DARTS_V2")


def test_a_baseline_without_images_held_out(photos, tmp_path):
    message = refused("search", "--data", photos, "--baseline", "random", "--validation_fraction", "0", *SMALL)
    assert "Search with --validation_fraction 0.1" in message
    done("search", "--data", photos, "--run", tmp_path / "run", "--validation_fraction", "0", *SMALL)
    done("retrain", tmp_path / "run")
    assert "Search with --validation_fraction 0.1" in refused("baseline", tmp_path / "run")


def test_other_settings_for_a_retraining_that_has_begun(run):
    assert "epochs is 2 there and 5 here" in refused("retrain", run, "--epochs", 5)
    assert "--time has no effect" in refused("retrain", run, "--time", "5min")
    assert "--threads has no effect" in refused("retrain", run, "--threads", 3)


def test_settings_that_do_not_matter_may_differ_when_a_retraining_goes_on(run):
    said = done("retrain", run, "--log_every", 1, "--checkpoint_minutes", 1)
    assert "This retraining was finished before. Retrained in" in said


# Folders


def test_the_folder_of_a_run_that_is_there(run):
    assert f"`dnas search --resume {run}` goes on with it" in refused("search", "--run", run, *SMALL)


def test_a_file_in_the_place_of_a_run(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        assert "is a file; --run must name a folder" in refused("search", "--run", path, *SMALL)


def test_a_run_that_is_not_there(tmp_path):
    for command in ("retrain", "evaluate", "baseline", "export"):
        assert f"There is no run folder {tmp_path / 'nope'}" in refused(command, tmp_path / "nope")
    assert "There is no run folder" in refused("search", "--resume", tmp_path / "nope")
    assert "There is no run folder" in refused("predict", tmp_path / "nope", "image.png")


def test_a_folder_that_holds_no_run(tmp_path):
    for command in ("retrain", "evaluate", "baseline"):
        assert "is not a run folder" in refused(command, tmp_path)


def test_commands_before_the_step_that_they_need(searched):
    for command in ("evaluate", "baseline", "export"):
        assert f"`dnas retrain {searched}`" in refused(command, searched)
    assert f"`dnas retrain {searched}`" in refused("predict", searched, "image.png")
    (searched / "architecture.json").unlink()
    for command in ("retrain", "describe"):
        assert f"`dnas search --resume {searched}` goes on with it" in refused(command, searched)


def test_images_to_predict_that_cannot_be_read(run, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    for name in ("broken.png", "nope.png"):
        assert str(tmp_path / name) in refused("predict", run, tmp_path / name)


def test_formats_that_there_are_not(run):
    assert "expected one of 'onnx', 'torch', 'state_dict'" in refused("export", run, "--formats", "gif")


@pytest.mark.parametrize(
    ("genotype", "said"),
    [
        ("DARTS_V9", "There is no 'DARTS_V9'"),
        ("Genotype(normal=[('foo', 0)])", "a genotype has the fields"),
        ("Genotype(normal=[('foo', 0)], normal_concat=[2], reduce=[('foo', 0)], reduce_concat=[2])", "foo"),
        ("Genotype(__import__('os').system('touch pwned'))", "genotype"),
        ("|nor_conv_3x3~0|", "expected 3"),
    ],
)
def test_a_wrong_genotype(genotype: str, said: str):
    assert said in refused("describe", genotype)


# Damaged run folders


def damage(path: Path, content: bytes | Callable[[Any], object]) -> None:
    """Other bytes, or a change of what a YAML or JSON file or a checkpoint holds."""
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif path.suffix == ".pt":
        state = torch.load(path, weights_only=True)
        content(state)
        save_tensors(path, state)
    else:
        data = yaml.safe_load(path.read_text())  # JSON is YAML
        content(data)
        path.write_text(json.dumps(data))


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe", b"[1", b"- 1", b"job: 3", b"job: {}", b"other: 1", b"job: {seed: x}", b"job: {foo: 1}"],
)
@pytest.mark.parametrize("place", [".", "retrain"])
def test_a_damaged_config(run, content: bytes, place: str):
    damage(run / place / "config.yaml", content)
    message = refused("retrain", run)
    assert str(run / place / "config.yaml") in message


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[1]", b"{}", b"null", b'{"format": "dnas-architecture"}'])
def test_a_damaged_architecture(searched, content: bytes):
    damage(searched / "architecture.json", content)
    for command in ("retrain", "describe"):
        assert "architecture" in refused(command, searched)


@pytest.mark.parametrize("content", [b"", b"x", b"[]", b"{}", b"null", b'{"seconds": "long"}'])
def test_a_damaged_summary_of_the_search(run, content: bytes):
    damage(run / "search.json", content)
    assert str(run / "search.json") in refused("baseline", run, "--num", 1)


@pytest.mark.parametrize("content", [b"", b"x", b"[]", b"{}", b"null"])
def test_a_damaged_list_of_the_test_part(run, content: bytes):
    damage(run / "test_part.json", content)
    assert "test_part.json" in refused("evaluate", run)


class Evil:
    """Runs code when it is unpickled."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("kind", ["empty", "garbage", "cut short", "other", "bare pickle", "torch file"])
@pytest.mark.parametrize("file", ["checkpoints/last.pt", "retrain/checkpoints/last.pt", "retrain/network.pt"])
def test_a_damaged_or_evil_checkpoint(run, tmp_path, file: str, kind: str):
    path, mark = run / file, tmp_path / "pwned"
    if kind == "torch file":
        torch.save({"step": Evil(mark)}, path)
    elif kind == "other":
        torch.save([1], path)
    else:
        contents = {"empty": b"", "garbage": b"x", "cut short": path.read_bytes()[:-200]}
        path.write_bytes(contents[kind] if kind in contents else pickle.dumps(Evil(mark), protocol=2))
    if kind == "other" and file == "retrain/network.pt":
        save_tensors(path, {"weight": 3})
    command = {"checkpoints/last.pt": ["search", "--resume"], "retrain/checkpoints/last.pt": ["retrain"]}
    message = refused(*command.get(file, ["evaluate"]), run)
    assert str(path) in message
    assert not mark.exists()


@pytest.mark.parametrize("name", ["step", "supernet", "weight_optimizer", "generator", "totals", "random_state"])
@pytest.mark.parametrize("place", [".", "retrain"])
def test_a_checkpoint_that_lacks_a_part(run, place: str, name: str):
    path = run / place / "checkpoints" / "last.pt"
    if name not in torch.load(path, weights_only=True):
        name = "network"
    damage(path, lambda state: state.pop(name))
    message = refused(*(["search", "--resume"] if place == "." else ["retrain"]), run)
    assert str(path) in message
    assert name in message


@pytest.mark.parametrize(
    "change",
    [
        {"step": "x"},
        {"step": None},
        {"seconds": "x"},
        {"weight_optimizer": {}, "optimizer": {}},
        {"random_state": {}},
        {"totals": {}},
        {"generator": torch.zeros(3), "random_state": torch.zeros(3)},
    ],
)
@pytest.mark.parametrize("place", [".", "retrain"])
def test_a_checkpoint_with_a_damaged_part(run, place: str, change: dict[str, Any]):
    path = run / place / "checkpoints" / "last.pt"
    damage(path, lambda state: state.update({name: value for name, value in change.items() if name in state}))
    assert str(path) in refused(*(["search", "--resume"] if place == "." else ["retrain"]), run)


@pytest.mark.parametrize("content", [b"[1]\n", b'{"loss": 1}\n', b'{"step": "x"}\n', b"x\n{}\n"])
@pytest.mark.parametrize("place", [".", "retrain"])
def test_damaged_metrics(run, place: str, content: bytes):
    (run / place / "metrics.jsonl").write_bytes(content)
    message = refused(*(["search", "--resume"] if place == "." else ["retrain"]), run)
    assert f"{run / place / 'metrics.jsonl'}, line 1" in message


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda job: job.update(channels=4), "another space"),
        (lambda job: job["space"]["init_args"].update(nodes=2), "another space"),
        (lambda job: job.update(space={"class_path": "dnas.NasBench201Space"}), "another space"),
        (lambda job: job["search"].update(epochs=5), "epochs"),
        (lambda job: job["search"]["alphas"].update(lr=0.5), "lr"),
        (lambda job: job.update(seed=5), "data have changed"),
        (lambda job: job.update(channels=None), "does not say channels"),
        (lambda job: job.update(data="nowhere"), "There is no file or folder 'nowhere'"),
    ],
)
def test_a_checkpoint_of_another_space_or_other_settings(run, change: Callable[[Any], object], said: str):
    damage(run / "config.yaml", lambda data: change(data["job"]))
    assert said in refused("search", "--resume", run)


def test_weights_of_another_network(run):
    damage(run / "retrain" / "network.json", lambda data: (data.pop("sha256"), data["builder"].update(channels=4)))
    assert "belongs to another architecture or space" in refused("evaluate", run)


def test_images_that_came_or_went_are_noticed(run, tmp_path):
    photos = make_photos(tmp_path / "photos")
    damage(run / "config.yaml", lambda data: data["job"].update(data=str(photos)))
    damage(run / "retrain" / "config.yaml", lambda data: data["job"].update(data=str(photos)))
    done("evaluate", run)  # the same images elsewhere
    (photos / "dog" / "003.png").rename(photos / "cat" / "003b.png")
    for command in (["evaluate"], ["search", "--resume"], ["baseline"]):
        message = refused(*command, run)
        assert "The data have changed" in message
    assert "7 test images and 41 others, now there are 7 and 41" in message


# Code of others


PART = "test_cli_bad_input.Mine"


class Mine(Softmax):
    """A user's relaxation."""


@dataclass(frozen=True)
class Failing(Relaxation):
    """A user's relaxation with a mistake in it."""

    def sample(self, alpha: Tensor, progress: Tensor, generator: torch.Generator | None) -> Mixture:
        raise RuntimeError("my own mistake")

    def expected(self, alpha: Tensor, progress: Tensor) -> Mixture:
        raise AssertionError


@dataclass(frozen=True)
class Hungry(Failing):
    """Takes more memory than there is."""

    def sample(self, alpha: Tensor, progress: Tensor, generator: torch.Generator | None) -> Mixture:
        return Mixture(torch.empty(10**16))


@dataclass(frozen=True)
class HungryOnGpu(Failing):
    """Fails as a GPU without free memory does."""

    def sample(self, alpha: Tensor, progress: Tensor, generator: torch.Generator | None) -> Mixture:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3.50 GiB. GPU 0 has ...")


class Unfinished(Relaxation):
    """A user's relaxation that lacks a method."""

    def expected(self, alpha: Tensor, progress: Tensor) -> Mixture:
        return Mixture(alpha)


@pytest.mark.parametrize(
    "change",
    [
        lambda job: job["search"].update(relaxation=PART),
        lambda job: job["search"].update(relaxation={"class_path": PART, "init_args": {}}),
        lambda job: job["search"].update(relaxation=f"{{class_path: {PART}}}"),
        lambda job: job["search"].update(penalties=[PART]),
        lambda job: job["search"]["weights"].update(lr={"class_path": PART}),
        lambda job: job["retrain"]["weights"].update(lr=PART),
        lambda job: job.update(space=PART),
        lambda job: job.update(space={"class_path": PART}),
        lambda job: job.update({"search.relaxation": PART}),
        lambda job: job.update(search="evil.yaml"),
        lambda job: job["search"].update(weights="evil"),
    ],
)
@pytest.mark.parametrize("command", [["search", "--resume"], ["retrain"]])
def test_no_import_path_in_a_run_is_followed(run, command: list[str], change: Callable[[Any], object]):
    damage(run / "config.yaml", lambda data: change(data["job"]))
    message = refused(*command, run)
    assert str(run / "config.yaml") in message
    assert "--trust" in message or "expected settings" in message or "no setting" in message


def test_an_abstract_part_is_told(photos):
    message = refused("search", "--data", photos, *SMALL, "--search.relaxation", f"{__name__}.Unfinished")
    assert f"{__name__}.Unfinished is abstract" in message


def test_a_mistake_in_a_users_part_keeps_its_traceback(photos, tmp_path):
    with pytest.raises(RuntimeError, match="my own mistake"):
        dnas(
            "search", "--data", photos, "--run", tmp_path / "run", *SMALL, "--search.relaxation", f"{__name__}.Failing"
        )


@pytest.mark.parametrize(("part", "said"), [("Hungry", "40000000000000000 bytes"), ("HungryOnGpu", "3.50 GiB")])
def test_too_little_memory_says_what_to_lower(photos, tmp_path, part: str, said: str):
    message = refused(
        *("search", "--data", photos, "--run", tmp_path / "run", *SMALL, "--search.relaxation", f"{__name__}.{part}")
    )
    assert f"Out of memory ({said} more were needed)" in message
    assert "Lower --batch_size, --image_size, --channels or --cells" in message


@pytest.mark.parametrize(
    ("option", "value", "most"),
    [
        ("--cells", 10**8, "1,000,000"),
        ("--channels", 10**12, "1,000,000"),
        ("--batch_size", 10**9, "1,000,000"),
        ("--image_size", 10**5, "4,096 pixels"),
    ],
)
def test_a_size_that_is_out_of_bounds_is_refused_with_the_bound(tmp_path, option: str, value: int, most: str):
    message = refused("search", "--data", "digits", "--run", tmp_path / "run", *SMALL, option, value)
    assert f"{option.removeprefix('--').replace('image_', 'image ')} must be at most {most}; got {value:,}" in message


def test_a_size_that_no_memory_holds_is_refused_before_it_is_tried(photos, tmp_path):
    message = refused("search", "--data", photos, "--run", tmp_path / "run", *SMALL, "--channels", 10**6)
    assert "Lower image_size, channels or cells" in message


def test_with_dnas_traceback_a_mistake_shows_where_it_was_found(monkeypatch):
    monkeypatch.setenv("DNAS_TRACEBACK", "1")
    with pytest.raises(ValueError, match="no command"):
        dnas("serach")


# Time


def test_a_time_that_cannot_be_kept(photos, tmp_path):
    message = refused("search", "--data", photos, "--run", tmp_path / "run", *SMALL, "--time", "3s")
    assert "3s is too short" in message
    assert re.search(r"needs --time \d+(s|min) for 2 epochs", message)
    assert not (tmp_path / "run").exists()


def test_a_time_that_retraining_cannot_keep(searched):
    assert "2s is too short: retraining needs --time" in refused("retrain", searched, "--time", "2s")
