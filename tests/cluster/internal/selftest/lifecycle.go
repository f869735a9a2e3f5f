package selftest

func lifecycleSuite(b *bench) error { return nil }
