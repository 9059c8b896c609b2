"""Pipelines to run; each module that can be run has a `main(argv)`.

In a checkout they stand beside the package; the wheel has them as `beam_dynamodb.pipelines`.
"""
