"""Runs the launcher."""

import sys

from templates.launch import main

sys.exit(main())
