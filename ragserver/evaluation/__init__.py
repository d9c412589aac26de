"""How well questions are answered whose answers are known, and how well simpler engines would answer them."""
