"""What Google's launcher runs for the Flex template `pubsub`."""

import sys

from templates.pubsub import main

if __name__ == "__main__":
    sys.exit(main())
