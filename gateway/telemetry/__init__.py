"""What the gateway tells of itself: log lines, figures and traces."""
