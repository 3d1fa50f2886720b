"""The paper's tables in small, on real text: each cell an ordinary run, common steps done once."""
