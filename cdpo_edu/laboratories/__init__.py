"""Small experiments that answer one question each, with numbers that a reader can check.

Each module is one laboratory: a function runs it and returns a plain record, and a picture in `plots`
draws that record. Nothing here is needed to train; lessons walk through it.
"""
