"""WIP"""


def print_tables(entries, halves, draws):
    print(len(entries))
