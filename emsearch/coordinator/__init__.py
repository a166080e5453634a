"""The process that reads the world, decides, and acts. It never imports torch."""
