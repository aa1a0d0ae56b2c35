"""From moments to a thinner model: which units leave, and how what reads them is refitted."""
