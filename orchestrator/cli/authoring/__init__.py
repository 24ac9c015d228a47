"""What commands of workflow authors share: models, their versions and files, node facts."""
