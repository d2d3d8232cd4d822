"""What people read: the report of a study, the page of an eye, the evaluation of predictions."""
