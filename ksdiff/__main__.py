from ksdiff.cli import main

main()
