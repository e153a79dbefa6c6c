"""What people and machines read: progress, summaries, and the page of a bundle."""
