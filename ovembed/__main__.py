from ovembed.cli.main import main

main()
