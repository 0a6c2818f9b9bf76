"""`python -m aigc_pipeline` and the `aigc` command."""

from aigc_pipeline.cli import main

if __name__ == "__main__":
    main()
