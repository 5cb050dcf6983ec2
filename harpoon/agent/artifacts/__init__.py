"""What tasks need fetched before they start: downloaded with limits, checked, kept by digest, and unpacked safely."""
