import sys

from cmpc_video_tf2.cli import main

if __name__ == "__main__":
    sys.exit(main())
