"""Evaluation of policies in their environments: measures, films and reports."""
