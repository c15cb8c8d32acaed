"""What a person looks at: descriptions of architectures and networks."""
