"""How the results of the stages are said: lines and tables for people, objects for a program."""
