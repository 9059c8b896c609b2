"""What Google's launcher runs for the Flex template `bigquery`."""

import sys

from templates.bigquery import main

if __name__ == "__main__":
    sys.exit(main())
