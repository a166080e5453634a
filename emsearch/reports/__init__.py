"""What people read of a study: leaderboard, status, cards, and the page that holds them all."""
