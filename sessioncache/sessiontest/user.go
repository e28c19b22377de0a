package sessiontest

// User is the user JSON of rhaptos2: 20 fields, null where unset. Use a type of your
// own if it does not fit.
type User struct {
	Interests                 *string      `json:"interests"`
	Identifiers               []Identifier `json:"identifiers"`
	UserID                    *string      `json:"user_id"`
	Suffix                    *string      `json:"suffix"`
	FirstName                 *string      `json:"firstname"`
	Title                     *string      `json:"title"`
	MiddleName                *string      `json:"middlename"`
	LastName                  *string      `json:"lastname"`
	ImageURL                  *string      `json:"imageurl"`
	OtherLangs                *string      `json:"otherlangs"`
	AffiliationInstitutionURL *string      `json:"affiliationinstitution_url"`
	Email                     *string      `json:"email"`
	Version                   *string      `json:"version"`
	Location                  *string      `json:"location"`
	Recommendations           *string      `json:"recommendations"`
	PreferredLang             *string      `json:"preferredlang"`
	FullName                  *string      `json:"fullname"`
	Homepage                  *string      `json:"homepage"`
	AffiliationInstitution    *string      `json:"affiliationinstitution"`
	Biography                 *string      `json:"biography"`
}

// Identifier is a way to log in that a [User] has, such as an OpenID.
type Identifier struct {
	IdentifierString string `json:"identifierstring"`
	UserID           string `json:"user_id"`
	IdentifierType   string `json:"identifiertype"`
}
