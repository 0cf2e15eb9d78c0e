import sys

from cogrounding_tf2.cli import main

sys.exit(main())
