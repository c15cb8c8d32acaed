"""What a person looks at: descriptions of architectures and networks.

What a command prints about a run while it works is in `jobs`.
"""
