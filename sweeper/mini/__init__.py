"""The embedded base model `mini`: its weights, its tokenizer, its card and the recipe that made them."""
