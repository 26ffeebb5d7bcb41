package chaos

func workerFaults() []Fault   { return nil }
func deliveryFaults() []Fault { return nil }
