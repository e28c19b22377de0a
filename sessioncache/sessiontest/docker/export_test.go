package docker

// What the tests call.
var (
	ErrNoImage = errNoImage
	ImageName  = imageName
	NewClient  = newClient
	NoImage    = noImage
	Pull       = pull
	Start      = start
)
