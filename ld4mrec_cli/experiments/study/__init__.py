"""Studies: a question about models, answered by trainings, evaluations and tests."""
