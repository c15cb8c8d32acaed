"""The report of a run says what its files say, and takes nothing in them for markup."""

import json
from dataclasses import replace
from html.parser import HTMLParser

import pytest

import dnas
from dnas.jobs.report import report_at_end, write_report
from dnas.report.diagnosis import diagnosis
from dnas.report.facts import facts_of, some
from dnas.report.report import report
from dnas.report.result import sentence
from dnas.searching.decidedness import Decidedness
from tests.support.run_folder import HOSTILE, MIXTURES, cell, whole_run


class Elements(HTMLParser):
    """All elements with their attributes, and all text."""

    def __init__(self, page: str):
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def facts(tmp_path_factory):
    return facts_of(whole_run(tmp_path_factory.mktemp("report") / "run"), MIXTURES)


@pytest.fixture(scope="module")
def page(facts):
    return Elements(report([facts]))


def test_the_result_comes_first_and_the_network_to_use_is_marked(page):
    said = page.text
    assert "reaches top-1 88.00% on the test part; random search with the same compute is expected to reach" in said
    assert (
        said.index("use this one") < said.index("What to know") < said.index("epoch by epoch") < said.index("Settings")
    )
    assert sum(attributes.get("class") == "marked" for _, attributes in page.found) == 1


def test_a_run_that_is_on_its_way_says_how_far_it_is_and_what_comes_next(facts):
    """Each stage is the one before without its last file."""
    stages = [replace(facts, comparison={})]
    stages.append(replace(stages[-1], evaluation={"metrics": {"top1": {"interval_95": [0.8, 0.9]}}}))
    stages.append(replace(stages[-1], evaluation={}))
    stages.append(replace(stages[-1], retraining=()))
    stages.append(replace(stages[-1], architecture=None, epochs=facts.epochs[:1]))
    said = [sentence(stage) for stage in stages]
    assert said[0].startswith("The network that was found reaches top-1 88.00%")
    assert said[0].endswith(" on the test part.")
    assert said[1] == "The network that was found reaches a result that its file does not name on the test part."
    assert said[2].endswith(f"it has not seen the test part; to measure it there: dnas evaluate {facts.folder}")
    assert said[3].endswith(f"its network has not been trained yet; to train it: dnas retrain {facts.folder}")
    assert said[4].endswith(f"it has done 1 epoch; to go on: dnas search --resume {facts.folder}")


def test_a_front_has_a_row_for_each_budget_and_a_point_where_it_was_trained(facts):
    trained = {"limit": "flops<=50%", "costs": {"flops": 1500, "parameters": 20}, "trained": {"validation": 0.9125}}
    untrained = {"limit": "flops<=80%", "costs": {"flops": 2500, "parameters": 30}}
    shown = [
        Elements(report([replace(facts, fronts={"flops": places})])) for places in ([untrained], [untrained, trained])
    ]
    assert all("2,500" in page.text for page in shown)
    assert ["What a budget buys" in page.text for page in shown] == [False, True]
    assert "0.9125" in shown[1].text


def test_names_in_files_are_text(page):
    assert HOSTILE in page.text
    sources = [attributes.get("src") or "" for tag, attributes in page.found if tag == "img"]
    assert len(sources) == 1, "one picture is a PNG, the other is none"
    assert sources[0].startswith("data:image/png;base64,")
    assert not any(name.startswith("on") for _, attributes in page.found for name in attributes)
    assert sum(tag == "script" for tag, _ in page.found) == 1


def test_every_epoch_has_a_frame_with_its_mixtures_and_the_last_is_shown(page):
    frames = [attributes for _, attributes in page.found if attributes.get("class") == "frame"]
    assert [(frame["data-label"], "hidden" in frame) for frame in frames] == [
        ("epoch 1", True),
        ("epoch 2", True),
        ("epoch 3", False),
    ]
    assert page.text.count("normal: weight of each candidate") >= 3


def test_a_cell_of_skip_connections_is_called_a_collapse(facts):
    (sign,) = diagnosis(replace(facts, retraining=[]))
    assert sign.words.startswith("Collapse: 67% ")
    good = replace(facts, retraining=[], architecture=cell((0, 2, "conv")))
    assert [sign.is_good for sign in diagnosis(good)] == [True]


def test_a_network_that_knows_its_training_images_better_is_called_so(facts):
    found = " ".join(sign.words for sign in diagnosis(facts))
    assert "knows its training images better (90%) than held-out ones (70%)" in found


def test_undecided_and_rising_searches_are_called_so(facts):
    rows = [{"epoch": e, "entropy": 0.99, "validation_accuracy": 0.1 * e} for e in range(1, 5)]
    found = " ".join(sign.words for sign in diagnosis(replace(facts, epochs=rows, architecture=cell((0, 2, "conv")))))
    assert "entropy of 0.99 of 1" in found
    assert "rose by 10.0 points" in found


@pytest.mark.parametrize("stability", [0.7, 1.0])
def test_what_the_search_said_of_its_decidedness_counts_instead_of_the_entropy(facts, stability):
    said = {"decidedness": {"epochs": 3, "stability": stability, "lead": 2.0}}
    course = [(e, cell((0, 2, "conv" if e % 2 else "pool"))) for e in range(1, 9)]
    changed = {"epochs": [{"epoch": 8, "entropy": 0.99}], "architecture": course[-1][1], "evolution": course}
    found = [sign.words for sign in diagnosis(replace(facts, retraining=[], search=said, **changed))]
    if stability < 0.9:
        assert found == [str(Decidedness(3, stability, 2.0))]
    else:
        assert found == [
            "No sign of trouble: few skip connections, mixtures that have decided, an architecture that came to rest."
        ]


def test_several_runs_stand_side_by_side_after_a_row_for_each(facts):
    page = Elements(report([facts, replace(facts, name="other", comparison={}, evaluation={}, retraining=[])]))
    assert page.text.index("other") < page.text.index("Result")
    assert "has not been trained yet" in page.text


def test_a_shrunk_model_is_told_by_what_is_left_of_it(tmp_path):
    rows = [
        {"name": name, "parameters": size, "flops": size, "score": {"value": score}, "values": {"conv": size}}
        for name, size, score in (("original", 100, 0.9), ("found", 50, 0.89))
    ]
    budget = ["flops<=50%", "milliseconds<=8"]
    job = {"model": "my.net:it", "budget": budget, "task": None, "image_size": 64, "settings": {"steps": 8}}
    (tmp_path / "config.yaml").write_text(json.dumps({"shrink": job}))
    (tmp_path / "shrink.json").write_text(json.dumps({"metric": "top1", "rows": rows, "budget": ["flops<=50%"]}))
    facts = facts_of(dnas.Run(tmp_path))
    assert sentence(facts) == (
        "The smaller model has 50% of the FLOPs, 50% of the parameters; top-1 goes from 90.00% to 89.00%."
    )
    said = Elements(report([facts])).text
    assert "100 → 50" in said
    assert (
        "dnas shrink my.net:it --budget 'flops<=50%' 'milliseconds<=8' --image_size 64 --settings settings.yaml "
        f"--run NEW   # settings.yaml: the entry shrink.settings of {tmp_path}/config.yaml"
    ) in said


def test_a_comparison_of_recipes_shows_its_table(tmp_path):
    (tmp_path / "table.csv").write_text("recipe,mean\ndarts,93.123456\n")
    (tmp_path / "trajectory.csv").write_text("recipe,seed,epoch,string,test\ndarts,0,1,x,90.5\ndarts,0,2,x,nan\n")
    text = Elements(report([facts_of(dnas.Run(tmp_path))])).text
    assert "A comparison of darts" in text
    assert "93.12" in text
    assert "darts, seed 0: 90.5 at 1" in text
    assert "at 2" not in text


def test_a_language_run_shows_its_table_of_cells(tmp_path):
    run = dnas.Run(tmp_path)
    run.write_config({"language": {}})
    assert "has done 0 epochs; to go on: dnas language --resume" in sentence(facts_of(run))
    (tmp_path / "comparison.txt").write_text("cell <b> 7.2")
    assert "cell <b> 7.2" in Elements(report([facts_of(run)])).text


def test_a_long_run_is_shown_by_its_first_its_last_and_evenly_spaced_epochs():
    shown = some(range(1, 601))
    assert len(shown) == 60
    assert (shown[0], shown[-1]) == (1, 600)


@pytest.mark.parametrize("text", ["true,a\na,-1\n", "true,a,b\na,1,2\n", "true,a\na,x\n"])
def test_a_damaged_file_fails_the_report_and_not_the_command_that_ends_with_one(tmp_path, text):
    run = whole_run(tmp_path / "run")
    (run.path / "evaluation" / "confusion.csv").write_text(text)
    with pytest.raises(dnas.UserError, match=r"confusion\.csv is damaged"):
        write_report([(run, None)])

    class Kept(dnas.Silent):
        said = ""

        def say(self, text: str) -> None:
            self.said += text

    display = Kept()
    report_at_end(run, None, display)
    assert "No report: " in display.said
