"""Other ways of reducing tokens, written from their papers for comparisons alone, on timm's own vision transformers.

Each is a module over a backbone that it shares with others, for inference, with a fixed number of tokens in each block.
`block_tokens` tells for every block how many tokens its attention and its MLP see.
"""
