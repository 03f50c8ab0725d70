"""One room per framework: the only places that import it to read, observe, write and train."""
