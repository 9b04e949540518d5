"""A network's file as something that runs: with which provider, how much of it that holds, which one is the fastest."""
