"""Where units live, who makes and who reads them, and which leave together."""
