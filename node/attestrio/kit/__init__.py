"""Small general tools without domain words. Import the module you need; nothing is re-exported here."""
