package authentication

type companyFlow struct{}
