"""What training a network takes: operations and memory."""
