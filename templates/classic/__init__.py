"""The classic template: files to DynamoDB, all parameters resolved on the worker."""
