"""The commands of `dnas`: a new one is a line here, and a file of its name beside this one."""

# Name and one line for the help; what it does is the COMMAND of dnas/cli/NAME.py, which is read when it is asked for.
COMMANDS = {
    "compare": "Compare recipes over seeds, with a random baseline.",
    "search": "Search for an architecture.",
    "retrain": "Train the found architecture from new weights.",
    "evaluate": "Measure the retrained network on the test part.",
    "baseline": "Compare with random architectures of the same space and budget.",
    "front": "Architectures for a row of budgets, from one search.",
    "export": "Write the retrained network as ONNX, torch.export program and state dict.",
    "predict": "Print the classes of images.",
    "shrink": "Make a trained model of your own smaller, under a budget.",
    "language": "Search for a recurrent cell on a text, and train it beside others.",
    "say": "Go on with a text, by a language model that was trained.",
    "profile": "Measure time, memory and FLOPs of a search on this machine.",
    "measure": "Make a table of milliseconds on this machine, for --budget.",
    "spaces": "List the search spaces, with sizes and ranges of parameters.",
    "table": "Make a table file of a benchmark's results, for --table.",
    "describe": "Print parameters and FLOPs of an architecture.",
    "report": "Write runs as one page of HTML to look at.",
    "draw": "Draw an architecture, as SVG, PDF or PNG.",
    "track": "Copy a run to MLflow or Weights & Biases.",
    "completion": "Print a script by which a shell fills in commands and options.",
}

# Commands that are answered without jsonargparse and torch, by `answer` in the file of their name.
PLAIN_COMMANDS = {"doctor": "Print versions, devices, threads, memory, and what is missing."}
