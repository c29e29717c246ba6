"""Text: tokenizers behind one small class, streaming detokenisation, chat templates."""
