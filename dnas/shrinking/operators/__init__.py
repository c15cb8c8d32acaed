"""What an operator of torch says about the channels that go through it; one file for each kind of operator."""
