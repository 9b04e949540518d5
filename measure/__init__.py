"""What says how good and how fast a model is. Asks the runtime for people; the loop never imports it."""
