package chaos

func redisFaults() []Fault    { return nil }
func topologyFaults() []Fault { return nil }
func networkFaults() []Fault  { return nil }
func workerFaults() []Fault   { return nil }
func deliveryFaults() []Fault { return nil }
