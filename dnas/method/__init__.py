"""The parts of a method, one folder for each kind and one file for each part; the kinds never import each other."""
