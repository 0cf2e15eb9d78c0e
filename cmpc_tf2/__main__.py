import sys

from cmpc_tf2.cli import main

sys.exit(main())
