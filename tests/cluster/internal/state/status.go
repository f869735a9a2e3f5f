package state

// Phase says how far a cluster is.
type Phase string

// The phases of a cluster, in order; a failed start ends in Failed.
const (
	Starting Phase = "starting"
	Ready    Phase = "ready"
	Failed   Phase = "failed"
)

// Status is what the supervisor tells the other commands.
type Status struct {
	Phase   Phase   `json:"phase"`
	Step    string  `json:"step"`
	Error   string  `json:"error,omitempty"`
	Seconds float64 `json:"seconds"`
	Parts   []Part  `json:"parts"`
}

// Part is one supervised process.
type Part struct {
	Name string `json:"name"`
	// PID is the process id inside the cluster's namespace, 0 while it is down.
	PID      int    `json:"pid"`
	Starts   int    `json:"starts"`
	LastExit string `json:"lastExit,omitempty"`
}

// Config is what `up` decides and the processes inside need to know.
type Config struct {
	Name string `json:"name"`
	// Programs maps a program's name to the file that was built.
	Programs map[string]string `json:"programs"`
	// CRDs is the folder with the snapshot CRDs.
	CRDs string `json:"crds"`
	// PauseImage is an archive with the image that holds a pod's namespaces.
	PauseImage string `json:"pauseImage"`
	// HostAddress is where the host reaches the API server.
	HostAddress string `json:"hostAddress"`
}

// WriteStatus publishes the status.
func (c Cluster) WriteStatus(s Status) error { return WriteJSON(c.Path("status.json"), s) }

// ReadStatus reads the last published status.
func (c Cluster) ReadStatus() (Status, error) {
	var s Status
	return s, ReadJSON(c.Path("status.json"), &s)
}
