"""What Google's launcher runs for the Flex template `files`."""

import sys

from templates.files import main

if __name__ == "__main__":
    sys.exit(main())
