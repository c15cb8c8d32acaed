"""What a search has to beat at equal compute: searches of random networks, evolution, and scores without training."""
