"""Pictures as SVG, from plain names and numbers: cells, chains of decisions, curves, points, heat maps.

They are readable on light and dark screens, and their colours can be told apart by colour-blind readers. Whoever has an
architecture or a run turns it into plain data first; so this room stands below `core`, whose classes show themselves.
"""
