from __future__ import annotations

from turnwise._entry import main

if __name__ == "__main__":
    main()
