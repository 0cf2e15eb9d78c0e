import sys

from cmpc_video_tf2.cli import main

sys.exit(main())
