"""Records to text, HTML and files; knows nothing of frameworks and decides nothing."""
